dump graphs/ltxv/transformer.yaml
