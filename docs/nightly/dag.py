"""Airflow 3 (apache-airflow-providers-standard): the night as a BashOperator that knows llmbatch's exit statuses."""

import re
from datetime import UTC, datetime, timedelta

from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

AGAIN = {6, 74, 129, 130, 137, 143}  # provider away, disk, interrupted: the same command goes on where it stopped


class Llmbatch(BashOperator):
    """Tries again only what may have passed. Exit status 75, another run at work, is a skip."""

    def execute(self, context):
        """Run the command; other failures than those of AGAIN are final."""
        try:
            return super().execute(context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            status = re.search(r"exit code (\d+)", str(error))
            if status and int(status[1]) not in AGAIN:
                raise AirflowFailException(str(error)) from error
            raise


START = datetime(2026, 1, 1, tzinfo=UTC)

with DAG("nightly_tag", schedule="30 1 * * *", start_date=START, catchup=False, max_active_runs=1):
    Llmbatch(
        task_id="tag",
        bash_command="exec .venv/bin/llmbatch run pipelines/tag --input 'in/*.jsonl' --deadline 4h --budget 20",
        cwd="/srv/nightly",
        append_env=True,
        env={"OPENAI_API_KEY": "{{ conn.openai.password }}"},
        skip_on_exit_code=75,
        retries=3,
        retry_delay=timedelta(minutes=15),
    )
