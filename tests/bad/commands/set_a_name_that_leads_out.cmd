compile presets/shapes.yaml -o $TMP/a --set preset=../x
