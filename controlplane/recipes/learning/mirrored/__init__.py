"""TensorFlow: data parallel training with `MultiWorkerMirroredStrategy`, for who has models there.

python -m learning.mirrored --epochs 8

Runs as a gang (`RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`), in an environment with what `requirements.txt`
beside this file names; nothing else of these recipes needs TensorFlow, and nothing here needs PyTorch.
"""
