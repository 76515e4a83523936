"""``make enclave-test``: images built twice, run hardened, used by two parties, attacked. Each step is a function."""
