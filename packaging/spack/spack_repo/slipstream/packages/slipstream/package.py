"""Spack's recipe; it builds the checkout that it lies in.

spack repo add packaging/spack/spack_repo/slipstream && spack install slipstream
"""

from pathlib import Path

from spack.package import *
from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage


class Slipstream(CMakePackage, CudaPackage):
    """Decodes large mixture-of-experts models over MPI: a batch of requests goes in as a file and comes out as a file."""

    git = Path(__file__).resolve().parents[6].as_uri()

    license("Apache-2.0")

    version("main", branch="main")

    variant("nccl", default=True, when="+cuda", description="Several ranks on GPUs")

    depends_on("c", type="build")
    depends_on("cxx", type="build", when="+cuda")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("hdf5")
    depends_on("jansson@2.12:")
    depends_on("pcre2+jit")
    depends_on("utf8proc")
    depends_on("zlib-api")
    depends_on("cmocka", type="test")
    depends_on("cuda@12.4:", when="+cuda")
    depends_on("nccl@2.28.7: cuda_arch=90a", when="+nccl")

    conflicts("cuda_arch=none", when="+cuda", msg="cuda_arch=90a: kernels are for Hopper")

    @property
    def build_targets(self):
        return ["all"] if self.run_tests else ["slipstream", "pages"]

    def cmake_args(self):
        args = [
            self.define("SLIP_CUDA", "REQUIRED" if self.spec.satisfies("+cuda") else "OFF"),
            self.define("CMAKE_SKIP_INSTALL_ALL_DEPENDENCY", True),  # build_targets are what is installed
        ]
        if self.spec.satisfies("+nccl"):
            args.append(self.define("NCCL_ROOT", self.spec["nccl"].prefix))
        return args

    def test_plan(self):
        """The installed program plans; that takes neither a model nor ranks."""
        slipstream = which(self.prefix.bin.slipstream)
        assert "tokens/s" in slipstream("plan", "--shape", "pro", "--ranks", "8", output=str.split, error=str.split)
