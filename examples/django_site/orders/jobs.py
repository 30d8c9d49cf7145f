"""Handlers of pgsched's own kind: for schedules, workflows and all else that tasks of Django do not know."""

from orders.models import Order
from pgsched import App, Context

app = App()


@app.task("orders.sweep", cron="0 4 * * *", timezone="Europe/Berlin")
def sweep(ctx: Context, status: str = "cancelled") -> int:
    """Delete what was cancelled, every night."""
    deleted, _ = Order.objects.filter(status=status).delete()
    ctx.log("swept", deleted=deleted)
    return deleted
