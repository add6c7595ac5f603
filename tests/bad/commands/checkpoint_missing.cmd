compile presets/shapes.yaml -o $TMP/a --checkpoint $TMP/nothing
