compile presets/shapes.yaml -o $TMP/a --set fp8=sideways
