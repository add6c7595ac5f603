compile presets/shapes.yaml -o $TMP/a --lora $TMP/folder
