compile presets/shapes.yaml -o $TMP/a --checkpoint /dev/zero
