compile presets/shapes.yaml -o $TMP/a --lora tests/fixtures/lora/peft.safetensors:strong
