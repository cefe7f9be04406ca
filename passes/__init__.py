"""The pass library: one pass a file, found by onnxq through the registry."""
