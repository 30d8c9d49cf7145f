"""Native pgsched handlers: for schedules, workflows and other features that Django's tasks lack."""

from orders.models import Order
from pgsched import App, Context

app = App()


@app.task("orders.sweep", cron="0 4 * * *", timezone="Europe/Berlin")
def sweep(ctx: Context, status: str = "cancelled") -> int:
    """Delete cancelled orders, every night."""
    deleted, _ = Order.objects.filter(status=status).delete()
    ctx.log("swept", deleted=deleted)
    return deleted
