"""Long proofs of what dlfound promises. `python tests/proofs` lists them; the tests here run short forms."""

# The environment of a process that forks: without a GPU, and without threads that a child process would lack.
SAFE_TO_FORK = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
