"""The handlers: ``pgsched worker --app tasks:app``."""

from pgsched import App, Context

app = App()


@app.task("order.confirm", queue="mail", max_attempts=5)
async def confirm(number: int, buyer: str, ctx: Context) -> str:
    """Confirm an order."""
    ctx.log("confirmed", number=number)
    return f"order {number} is confirmed to {buyer}"
