"""Archives: what users upload."""

import io
import zipfile


def zip_of(code: str) -> bytes:
    """The same bytes for the same code."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("main.py", (2026, 1, 1, 0, 0, 0)), code)
    return buffer.getvalue()
