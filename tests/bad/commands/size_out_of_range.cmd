dump presets/shapes.yaml --component vae_decoder --size 64x64x100000
