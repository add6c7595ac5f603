compile presets/shapes.yaml -o $TMP/a --set colour=red
