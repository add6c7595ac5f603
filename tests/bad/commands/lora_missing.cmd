compile presets/shapes.yaml -o $TMP/a --lora $TMP/nothing.safetensors:0.5
