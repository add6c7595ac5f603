compile presets/shapes.yaml -o $TMP/file
