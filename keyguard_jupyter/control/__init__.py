"""Who may change it: the host's verbs, and the REST API over them."""
