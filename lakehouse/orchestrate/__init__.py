"""The main job through Airflow: starts it if it is not running, asks it over its REST API, follows the runs."""
