-- Creates a database for tests as a file copy of another one.
create database {name} template {template} encoding 'UTF8'
