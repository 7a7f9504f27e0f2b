"""One page a file, each with `render(view)`; `app.py` names them."""
