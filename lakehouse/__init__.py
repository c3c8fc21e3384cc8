"""The City Data Exchange: contracts in, releases out. Plain Python; imports no Airflow."""
