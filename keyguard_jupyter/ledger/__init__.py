"""What happened: holds, settlements, people, keys and reports, in one database."""
