"""What `dlfound sweep` is made of: a plan, workers, who watches over them, what one sees, and what comes out."""
