"""The AWS plugin costs a server that has no account nothing but its own few files."""

import subprocess
import sys

HEAVY = ("boto3", "botocore", "moto", "werkzeug")


def test_the_sdk_is_not_imported_with_the_plugin() -> None:
    program = (
        "import sys; from cloud_adapters.aws.adapter import AwsAdapter; AwsAdapter();"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
