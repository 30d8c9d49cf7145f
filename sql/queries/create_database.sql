-- A database for tests: a copy of another one, made of its files.
create database {name} template {template} encoding 'UTF8'
