compile presets/shapes.yaml -o $TMP/a --tokenizer $TMP/nothing
