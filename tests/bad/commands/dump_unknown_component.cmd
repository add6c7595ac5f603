dump presets/shapes.yaml --component vae
