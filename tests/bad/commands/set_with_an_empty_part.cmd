compile presets/shapes.yaml -o $TMP/a --set a..b=3
