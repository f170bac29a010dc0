"""Flask: the extension, a decorated function with its fallback, and a flag in a template."""

from flask import Flask, render_template_string, request

from canary_sdk import connect
from canary_sdk.integrations.flask import FlaskCanary

canary = connect()
canary.apply({"flags": {"new-checkout": {"rollout": 50, "slos": ["p95 < 500ms", "errors < 1%"]}}})

app = Flask(__name__)
FlaskCanary(app, canary=canary, key=lambda environ: environ.get("HTTP_X_USER"))


def old_checkout(cart):
    return {"checkout": "old"}


@canary.feature("new-checkout", fallback=old_checkout)
def new_checkout(cart):
    return {"checkout": "new"}


@app.get("/checkout/<int:cart>")
def checkout(cart):
    if request.args.get("page"):
        return render_template_string("""{{ "new" if is_enabled("new-checkout") else "old" }}""")
    return new_checkout(cart)
