compile presets/shapes.yaml -o $TMP/folder
