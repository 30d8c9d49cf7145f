-- Ends the transaction of a batch of locked rows: finishes and leases together.
commit
