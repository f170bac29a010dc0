"""What is promised, what is counted, and what follows from it: by the classic rule, and by the sequential one."""
