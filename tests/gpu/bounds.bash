# How far a GPU's logits may be from the exact CPU's; sourced. How far rounding moves a logit is the model's own: the shipped model's median
# row moves by 0.07, that of the model before it by 0.03, a random one's by 0.2 to 0.4. So most bounds are multiples of how far the CPU that
# rounds (--round-activations) is from the exact one, measured in each run (compare_greedy).
gap=1.5    # between two tokens' logits, against what rounding moves the best two's margin by in 99 of 100 rows
row=1.5    # rms of a row's logits, GPU against the CPU that rounds, against that CPU's 99th of 100 rows
times=1.5  # the median row's distance from the exact CPU, and the 99th of 100's, against that of the CPU that rounds
share=3    # times as many choices may differ as of the CPU that rounds, which are 0.5 to 1.5 in 100 of the shipped model's
bias=0.005 # of the log-probability of the exact CPU's choices, on average; the CPU that rounds: 0.0014 with the shipped model
