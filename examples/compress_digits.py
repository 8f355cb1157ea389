"""What each method of compression costs and saves, on the digits network: the table of docs/recipes.md.

python examples/compress_digits.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import torch

from controlplane.recipes.learning.compression.__main__ import Report, compress
from controlplane.recipes.learning.compression.measuring import Measured
from controlplane.recipes.learning.compression.settings import Method, Settings

RECIPES: Final = Path(__file__).parents[1] / "controlplane" / "recipes"
TEACHER_EPOCHS: Final = 10

RUNS: Final[tuple[tuple[str, Method, dict[str, float]], ...]] = (
    ("scale, alpha 0.9", Method.SCALE, {"alpha": 0.9}),
    ("equalize", Method.EQUALIZE, {}),
    ("clip at 0.1", Method.CLIP, {"eps": 0.1}),
    ("threshold 0.02", Method.THRESHOLD, {"eps": 0.02}),
    ("magnitude 80 %", Method.MAGNITUDE, {"sparsity": 0.8}),
    ("magnitude 80 %, 4 epochs by the plan", Method.MAGNITUDE, {"sparsity": 0.8, "epochs": 4}),
    ("channels 50 %", Method.CHANNELS, {"sparsity": 0.5}),
    ("channels 50 %, 4 epochs", Method.CHANNELS, {"sparsity": 0.5, "epochs": 4}),
    ("fixed point, 6 bits", Method.FIXED_POINT, {"bits": 6}),
    ("integers of 2 bits", Method.INTEGER, {"bits": 2}),
    ("aware, 2 bits, 4 epochs", Method.AWARE, {"bits": 2, "epochs": 4}),
    ("int8, dynamic", Method.INT8_DYNAMIC, {}),
    ("int8, static", Method.INT8_STATIC, {}),
    ("aware, int8, 4 epochs", Method.AWARE, {"bits": 8, "epochs": 4}),
    ("distil, 20 epochs", Method.DISTIL, {"epochs": 20, "alpha": 0.7, "learning_rate": 0.01}),
)


def main() -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder))
        teacher = f"{folder}/results/outputs"
        print("| method | bytes | packed | microseconds | accuracy | zeros |")
        print("|---|---|---|---|---|---|")
        before = compress(Settings(model=teacher, method=Method.NONE), f"{folder}/none")
        print(_line("the network as trained", before.after, before))
        for number, (name, method, options) in enumerate(RUNS):
            settings = Settings(model=teacher, method=method, **options)  # type: ignore[arg-type] # checked there
            report = compress(settings, f"{folder}/{number}")
            print(_line(name, report.after, report), flush=True)
            if method is Method.DISTIL:
                quantised = Settings(model=f"{folder}/{number}", method=Method.INT8_STATIC)
                print(_line("that student, int8", compress(quantised, f"{folder}/last").after, report))
    return 0


def _train(folder: Path) -> None:
    command = [sys.executable, "-m", "learning.training", "--launch=tasks", f"--epochs={TEACHER_EPOCHS}"]
    subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(RECIPES)}, check=True, stdout=sys.stderr)


def _line(name: str, measured: Measured, report: Report) -> str:
    return (
        f"| {name} | {measured.size_bytes:,} | {measured.packed_bytes:,} |"
        f" {measured.latency_microseconds:.0f} | {measured.accuracy:.4f} | {report.zeros:.2f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
