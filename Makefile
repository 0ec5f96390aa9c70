# Two commands: `make demo` and `make check`. CMake does the work; this file only saves typing.

BUILD ?= build
JOBS ?= $(shell nproc)
TEST_JOBS ?= $(shell echo $$((2 * $(JOBS)))) # tests wait more than they compute: for launchers, disks that are made slow, deadlines
RESULTS ?= $(BUILD)/demo-results.jsonl

# Open MPI refuses root and more ranks than cores unless told otherwise (4.x and 5.x have different words for the latter).
export OMPI_ALLOW_RUN_AS_ROOT = 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = 1
export OMPI_MCA_rmaps_base_oversubscribe = 1
export PRTE_MCA_rmaps_default_mapping_policy = :oversubscribe

.PHONY: all demo check sanitize sanitize-build fuzz fuzz-build format format-check tidy packages clean

all: packages
	cmake -S . -B "$(BUILD)"
	cmake --build "$(BUILD)" -j $(JOBS)

demo: all
	rm -f "$(RESULTS)"
	mpirun -n 3 "$(BUILD)/slipstream" batch -m jobs/demo/model.h5 -i jobs/demo/requests.jsonl -o "$(RESULTS)"
	"$(BUILD)/show_results" jobs/demo/requests.jsonl "$(RESULTS)"

check: all
	ctest --test-dir "$(BUILD)" --output-on-failure -j $(TEST_JOBS)

# The same tests under AddressSanitizer and UndefinedBehaviorSanitizer, but for those of the tree and of scripts around the program: `make check` has
# had them, and what they run of the program others run here. kernels/CMakeLists.txt says which have the CPU's arithmetic without sanitizers.
sanitize-build: packages
	cmake --preset asan -B "$(BUILD)-sanitize"
	cmake --build "$(BUILD)-sanitize" -j $(JOBS)
sanitize: sanitize-build
	QUICK=1 ctest --test-dir "$(BUILD)-sanitize" --output-on-failure -j $(TEST_JOBS) -E '^(house|slurm)[.]'

# Every fuzzer for FUZZ_SECONDS; needs clang with libFuzzer.
FUZZ_SECONDS ?= 20
fuzz-build: packages
	cmake --preset fuzz -B "$(BUILD)-fuzz"
	cmake --build "$(BUILD)-fuzz" -j $(JOBS) --target fuzzers
fuzz: fuzz-build
	bash tests/fuzz/run.sh "$(BUILD)-fuzz" $(FUZZ_SECONDS)

# clang-format 14 over all C and CUDA; clang-tidy 14's bug checks over all C.
format:
	bash tests/house/format.sh
format-check:
	bash tests/house/format.sh --check
tidy: all
	bash tests/house/tidy.sh "$(BUILD)"

packages:
	@bash jobs/demo/packages.sh

clean:
	rm -rf "$(BUILD)" "$(BUILD)-sanitize" "$(BUILD)-fuzz"
