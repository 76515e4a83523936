"""What a party installs can turn reference values into a policy: nothing that builds or measures images is needed."""

from support.reference import KINDS, reference_values
from vesica.cli.main import main
from vesica_attestation.reference_values import to_json


def test_reference_values_become_a_policy_that_the_verifier_takes(tmp_path, capsys):
    (tmp_path / "values.json").write_bytes(to_json(reference_values(nitro=KINDS["nitro"])))
    arguments = ["policy", "new", "--reference-values", str(tmp_path / "values.json"), "--kind", "nitro"]
    assert main([*arguments, "--output", str(tmp_path / "policy.toml")]) == 0
    assert main(["policy", "check", str(tmp_path / "policy.toml")]) == 0
    assert "nitro" in capsys.readouterr().out
