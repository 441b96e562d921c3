"""What the YAML files of `evaluation/tasks/` call: items of local files, prompts, and scores of an answer."""
