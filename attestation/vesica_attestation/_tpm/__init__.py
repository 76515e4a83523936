"""A TPM 2.0, for the kinds that have one: ``azure``, whose hardware vouches for it, and ``tpm``, where a CA does."""
