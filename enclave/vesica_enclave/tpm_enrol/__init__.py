"""Sets up a virtual machine's TPM for evidence of the kind ``tpm``, where no cloud has done so: the part of the CA.

    python3 -m vesica_enclave.tpm_enrol --tpm PLACE --ca-dir DIR

It is run once, before the machine serves, by whoever runs the CA: on the host against the state of a TPM in software,
or in a machine that boots for this. The CA's key must not be where the room runs.

1. The TPM's endorsement key is one that the CA accepts: certified by a manufacturer that is named, or known from
   elsewhere (a cloud's API), or of a TPM in software whose state is on this machine.
2. An attestation key is made: restricted, never to leave the TPM. The CA reads its public area itself.
3. The CA encrypts a secret to the endorsement key and the attestation key's name. The TPM gives it out only if both
   keys are in it: that is what the certificate will say.
4. The CA certifies the attestation key. Key and certificates go where the room's attester looks for them.

Source: TCG, "TPM 2.0 Keys for Device Identity and Attestation", 1.0, section 5.
"""
