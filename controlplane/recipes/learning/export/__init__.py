"""Export: a model as an ONNX file, and a package that runs it on a device without a network.

python -m learning.export --model file:///results/compressed --signing-key key.pem --output edge.zip
"""
