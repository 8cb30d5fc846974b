"""The words of every notice: one folder a mail, `subject.txt` and `body.txt`, and no logic."""
