compile presets/shapes.yaml -o $TMP/a --fp8 hadamard
