"""What is right: people, rules, limits, prices and usage. Pure: no network, no database, no clock."""
