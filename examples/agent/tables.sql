-- The tables of the agent's tools, and the orders of one customer: four are more than eight days late.
create table shop_orders (
  number integer primary key, customer text not null, days_late integer not null, price integer not null
);
create table shop_refunds (order_number integer not null references shop_orders, amount integer not null);
insert into shop_orders select number, 'ada', number * 5 % 11, number * 10 from generate_series(1, 20) number;
