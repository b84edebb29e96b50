import json
import stat
import subprocess

import pytest

from deploy import files
from deploy.supervisor import StackError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_replaced_whole_and_private(tmp_path):
    path = tmp_path / "a"
    files.write_private(path, "one")
    files.write_private(path, "two")
    assert path.read_text() == "two"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_credentials_are_made_once(tmp_path):
    made = files.Credentials.keep(tmp_path)
    assert files.Credentials.keep(tmp_path) == made
    assert mode(tmp_path / files.CREDENTIALS) == 0o600
    assert len({made.redis_password, made.s3_access_key, made.s3_secret_key}) == 3


def test_credentials_differ_between_folders(tmp_path):
    (tmp_path / "other").mkdir()
    assert files.Credentials.keep(tmp_path) != files.Credentials.keep(tmp_path / "other")


def test_a_folder_is_for_one_stack(tmp_path):
    folder = tmp_path / "new" / "data"
    with files.open_folder(folder):
        assert mode(folder) == 0o700
        with pytest.raises(StackError, match="another stack runs on"):
            files.open_folder(folder)
    files.open_folder(folder).close()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="IMAGEMILL_DATA_DIR"):
        files.open_folder(tmp_path / "file" / "data")


def test_stack_files_can_be_parsed_and_sourced(tmp_path):
    settings = {"IMAGEMILL_A": "redis://:x@h/0", "IMAGEMILL_B": 'it\'s $HOME "now"'}
    files.write_stack(tmp_path, {"api_url": None, "pids": {"web": 1}}, settings)
    assert json.loads((tmp_path / "stack.json").read_text()) == {
        "api_url": None,
        "pids": {"web": 1},
    }
    command = ". ./stack.env && printenv IMAGEMILL_A IMAGEMILL_B"
    printed = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert printed.stdout.decode().splitlines() == list(settings.values())
    assert mode(tmp_path / "stack.json") == mode(tmp_path / "stack.env") == 0o600
    files.remove_stack(tmp_path)
    assert list(tmp_path.iterdir()) == []
