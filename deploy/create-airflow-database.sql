CREATE DATABASE airflow OWNER exchange;
