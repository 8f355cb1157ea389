"""Zips: the same bytes for the same content."""

import io
import zipfile
from collections.abc import Mapping
from typing import Final

LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)


def zipped(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, date_time=LONG_AGO), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()
