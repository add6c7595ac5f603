run $BUNDLE --prompt a -o $TMP/a.mp4 --save-latents $TMP/nowhere/a.safetensors
