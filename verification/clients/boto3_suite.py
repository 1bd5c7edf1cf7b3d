"""boto3, the AWS SDK for Python: what applications rely on, with SDK retries on and off."""

import base64
import concurrent.futures
import hashlib
import io
import os
import sys
import traceback
import urllib.error
import urllib.request
import zlib

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET = f"boto3-{os.environ['RUN']}"
MIB = 1024 * 1024
ONCE = Config(signature_version="s3v4", retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
PATIENT = Config(signature_version="s3v4", retries={"total_max_attempts": 5, "mode": "standard"}, s3={"addressing_style": "path"})

s3 = boto3.client("s3", config=ONCE)
CHECKS = []


def check(name):
    """Registers a check; it passes unless it raises."""

    def register(function):
        CHECKS.append((name, function))
        return function

    return register


def fails(code, status, operation, **arguments):
    """The operation must be refused with this code and status."""
    try:
        answer = operation(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert found == (code, status), f"expected {code} {status}, got {found[0]} {found[1]}"
        return error.response
    raise AssertionError(f"expected {code} {status}, got {answer['ResponseMetadata']['HTTPStatusCode']}")


def put(key, body=b"x", **arguments):
    return s3.put_object(Bucket=BUCKET, Key=key, Body=body, **arguments)


def get(key, **arguments):
    return s3.get_object(Bucket=BUCKET, Key=key, **arguments)["Body"].read()


def fetch(url, data=None, method="GET", headers=None):
    """Status and body of a plain HTTP request."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@check("create, head and list buckets")
def buckets():
    s3.create_bucket(Bucket=BUCKET)
    s3.head_bucket(Bucket=BUCKET)
    assert BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    fails("404", 404, s3.head_bucket, Bucket=BUCKET + "-none")


@check("put, get and head agree on body, type, metadata and ETag")
def basics():
    body = os.urandom(70_000)
    tag = put("basic", body, ContentType="image/x-test", Metadata={"colour": "dark blue"}, CacheControl="no-cache")["ETag"]
    assert tag == f'"{hashlib.md5(body).hexdigest()}"', tag
    assert get("basic") == body
    head = s3.head_object(Bucket=BUCKET, Key="basic")
    assert (head["ETag"], head["ContentLength"], head["ContentType"]) == (tag, len(body), "image/x-test"), head
    assert head["Metadata"] == {"colour": "dark blue"} and head["CacheControl"] == "no-cache", head


@check("an empty object")
def empty():
    put("empty", b"")
    assert get("empty") == b""
    assert s3.head_object(Bucket=BUCKET, Key="empty")["ContentLength"] == 0


@check("upload_fileobj and download_fileobj of 25 MiB in parallel parts")
def transfer():
    body = os.urandom(25 * MIB + 17)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=6)
    s3.upload_fileobj(io.BytesIO(body), BUCKET, "transferred", Config=config)
    back = io.BytesIO()
    s3.download_fileobj(BUCKET, "transferred", back, Config=config)
    assert back.getvalue() == body
    parts = [hashlib.md5(body[start : start + 5 * MIB]).digest() for start in range(0, len(body), 5 * MIB)]
    tag = f'"{hashlib.md5(b"".join(parts)).hexdigest()}-{len(parts)}"'
    assert s3.head_object(Bucket=BUCKET, Key="transferred")["ETag"] == tag


@check("upload_file and download_file")
def files():
    body = os.urandom(9 * MIB)
    with open("file", "wb") as file:
        file.write(body)
    s3.upload_file("file", BUCKET, "file", ExtraArgs={"Metadata": {"a": "b"}})
    s3.download_file(BUCKET, "file", "file.back")
    with open("file.back", "rb") as file:
        assert file.read() == body


@check("a streamed read in small pieces")
def streaming():
    body = os.urandom(3 * MIB)
    put("streamed", body)
    pieces = s3.get_object(Bucket=BUCKET, Key="streamed")["Body"].iter_chunks(10_000)
    assert b"".join(pieces) == body


@check("ranges: middle, suffix, open, beyond the end")
def ranges():
    body = bytes(range(256)) * 4
    put("ranged", body)
    for header, expected in [("bytes=10-19", body[10:20]), ("bytes=-7", body[-7:]), ("bytes=1000-", body[1000:])]:
        answer = s3.get_object(Bucket=BUCKET, Key="ranged", Range=header)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206 and answer["Body"].read() == expected, header
    assert s3.get_object(Bucket=BUCKET, Key="ranged", Range="bytes=0-0")["ContentRange"] == "bytes 0-0/1024"
    fails("InvalidRange", 416, s3.get_object, Bucket=BUCKET, Key="ranged", Range="bytes=5000-")


@check("presigned GET and PUT, and what is forged is refused")
def presigned():
    arguments = {"Bucket": BUCKET, "Key": "presigned &+ü"}
    url = s3.generate_presigned_url("put_object", Params=arguments, ExpiresIn=60)
    assert fetch(url, b"by link", "PUT")[0] == 200
    url = s3.generate_presigned_url("get_object", Params={**arguments, "ResponseContentType": "text/x-other"}, ExpiresIn=60)
    assert fetch(url) == (200, b"by link")
    status, text = fetch(url[:-1] + ("0" if url[-1] != "0" else "1"))
    assert status == 403 and b"SignatureDoesNotMatch" in text, (status, text)
    url = s3.generate_presigned_url("get_object", Params={**arguments, "Key": "other"}, ExpiresIn=60)
    assert fetch(url)[0] == 404


@check("presigned POST from a form is refused, not ignored")
def posted():
    form = s3.generate_presigned_post(BUCKET, "posted", Conditions=[["content-length-range", 1, 100]], ExpiresIn=60)
    boundary, lines = "frontier", []
    for name, value in form["fields"].items():
        lines += [f"--{boundary}", f'Content-Disposition: form-data; name="{name}"', "", value]
    lines += [f"--{boundary}", 'Content-Disposition: form-data; name="file"; filename="f"', "", "by form"]
    body = "\r\n".join([*lines, f"--{boundary}--", ""]).encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    status, text = fetch(form["url"], body, "POST", headers)
    assert status == 501 and b"NotImplemented" in text, (status, text)
    fails("NoSuchKey", 404, get, key="posted")


def checksum_round_trip(algorithm):
    body, field = os.urandom(100_000), f"Checksum{algorithm}"
    written = put(f"checksum-{algorithm}", body, ChecksumAlgorithm=algorithm)
    assert written.get(field), f"PUT does not answer with {field}"
    read = s3.get_object(Bucket=BUCKET, Key=f"checksum-{algorithm}", ChecksumMode="ENABLED")
    assert read["Body"].read() == body and read.get(field) == written[field], f"GET: {read.get(field)}"


for kind in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]:
    check(f"checksum {kind} is stored and returned")(lambda kind=kind: checksum_round_trip(kind))


@check("a checksum given beforehand holds, a wrong one is refused and nothing is stored")
def checksum_given():
    right = base64.b64encode(zlib.crc32(b"body").to_bytes(4, "big")).decode()
    assert put("given", b"body", ChecksumCRC32=right)["ChecksumCRC32"] == right
    put("given-sha", b"body", ChecksumSHA256=base64.b64encode(hashlib.sha256(b"body").digest()).decode())
    fails("BadDigest", 400, put, key="wrong", body=b"other", ChecksumCRC32=right)
    md5 = base64.b64encode(hashlib.md5(b"body").digest()).decode()
    put("md5", b"body", ContentMD5=md5)
    fails("BadDigest", 400, put, key="wrong", body=b"other", ContentMD5=md5)
    fails("404", 404, s3.head_object, Bucket=BUCKET, Key="wrong")


def multipart_checksum(algorithm, kind):
    key, field = f"parts-{algorithm}-{kind}", f"Checksum{algorithm}"
    bodies = [os.urandom(5 * MIB), os.urandom(100)]
    start = s3.create_multipart_upload(Bucket=BUCKET, Key=key, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    parts = []
    for number, body in enumerate(bodies, 1):
        arguments = {"Bucket": BUCKET, "Key": key, "UploadId": start["UploadId"], "PartNumber": number}
        part = s3.upload_part(Body=body, ChecksumAlgorithm=algorithm, **arguments)
        parts.append({"PartNumber": number, "ETag": part["ETag"], field: part[field]})
    done = s3.complete_multipart_upload(
        Bucket=BUCKET, Key=key, UploadId=start["UploadId"], MultipartUpload={"Parts": parts}, ChecksumType=kind
    )
    assert done["ChecksumType"] == kind, done
    assert done[field].endswith("-2") == (kind == "COMPOSITE"), done[field]
    if algorithm == "CRC32" and kind == "FULL_OBJECT":
        assert base64.b64decode(done[field]) == zlib.crc32(b"".join(bodies)).to_bytes(4, "big")
    head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert head[field] == done[field] and head["ChecksumType"] == kind, head


for algorithm, kind in [("CRC32", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT"), ("CRC32C", "COMPOSITE"), ("SHA256", "COMPOSITE")]:
    check(f"multipart checksum {algorithm} {kind}")(
        lambda algorithm=algorithm, kind=kind: multipart_checksum(algorithm, kind)
    )


@check("multipart: list parts and uploads, replace a part, abort, too small, wrong order")
def multipart():
    upload = {"Bucket": BUCKET, "Key": "multi"}
    upload["UploadId"] = s3.create_multipart_upload(Bucket=BUCKET, Key="multi", Metadata={"m": "1"})["UploadId"]
    first = s3.upload_part(PartNumber=1, Body=b"a" * 5 * MIB, **upload)["ETag"]
    replaced = s3.upload_part(PartNumber=1, Body=b"b" * 5 * MIB, **upload)["ETag"]
    last = s3.upload_part(PartNumber=7, Body=b"end", **upload)["ETag"]
    assert [(part["PartNumber"], part["Size"]) for part in s3.list_parts(**upload)["Parts"]] == [(1, 5 * MIB), (7, 3)]
    assert [found["Key"] for found in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == ["multi"]

    def complete(*parts):
        chosen = {"Parts": [{"PartNumber": number, "ETag": tag} for number, tag in parts]}
        return s3.complete_multipart_upload(MultipartUpload=chosen, **upload)

    fails("InvalidPart", 400, lambda: complete((1, first), (7, last)))
    fails("InvalidPartOrder", 400, lambda: complete((7, last), (1, replaced)))
    complete((1, replaced), (7, last))
    assert get("multi") == b"b" * 5 * MIB + b"end"
    assert s3.head_object(Bucket=BUCKET, Key="multi")["Metadata"] == {"m": "1"}
    upload["UploadId"] = s3.create_multipart_upload(Bucket=BUCKET, Key="multi")["UploadId"]
    small = [(number, s3.upload_part(PartNumber=number, Body=b"tiny", **upload)["ETag"]) for number in (1, 2)]
    fails("EntityTooSmall", 400, lambda: complete(*small))
    s3.abort_multipart_upload(**upload)
    fails("NoSuchUpload", 404, s3.upload_part, PartNumber=1, Body=b"x", **upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


@check("upload_part_copy with a range")
def part_copy():
    body = os.urandom(6 * MIB)
    put("part-source", body)
    upload = {"Bucket": BUCKET, "Key": "part-copy"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    source = {"CopySource": {"Bucket": BUCKET, "Key": "part-source"}, "CopySourceRange": f"bytes=100-{5 * MIB + 99}"}
    tag = s3.upload_part_copy(PartNumber=1, **source, **upload)["CopyPartResult"]["ETag"]
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}, **upload)
    assert get("part-copy") == body[100 : 5 * MIB + 100]


@check("conditional PUT: If-None-Match, If-Match, on a missing object")
def conditional_put():
    tag = put("cond", b"1", IfNoneMatch="*")["ETag"]
    fails("PreconditionFailed", 412, put, key="cond", body=b"2", IfNoneMatch="*")
    tag = put("cond", b"2", IfMatch=tag)["ETag"]
    fails("PreconditionFailed", 412, put, key="cond", body=b"3", IfMatch='"00000000000000000000000000000000"')
    assert get("cond") == b"2"
    fails("NoSuchKey", 404, put, key="cond-none", IfMatch=tag)


@check("of 24 racing creators exactly one gets 200")
def race():
    def create(number):
        try:
            put("raced", f"{number}".encode(), IfNoneMatch="*")
            return number
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            assert status in (409, 412), status
            return None

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        winners = [number for number in pool.map(create, range(24)) if number is not None]
    assert len(winners) == 1, winners
    assert get("raced") == f"{winners[0]}".encode()


@check("conditional DELETE")
def conditional_delete():
    tag = put("cond-delete", b"1")["ETag"]
    wrong = '"00000000000000000000000000000000"'
    fails("PreconditionFailed", 412, s3.delete_object, Bucket=BUCKET, Key="cond-delete", IfMatch=wrong)
    assert get("cond-delete") == b"1"
    s3.delete_object(Bucket=BUCKET, Key="cond-delete", IfMatch=tag)
    fails("NoSuchKey", 404, get, key="cond-delete")
    for gone in (tag, "*"):
        fails("NoSuchKey", 404, s3.delete_object, Bucket=BUCKET, Key="cond-delete", IfMatch=gone)
    s3.delete_object(Bucket=BUCKET, Key="cond-delete")
    found = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "cond-delete", "ETag": tag}]})
    assert [(error["Key"], error["Code"]) for error in found["Errors"]] == [("cond-delete", "NoSuchKey")], found


@check("conditional GET and HEAD: 304 and 412")
def conditional_get():
    answer = put("cond-get", b"1")
    head = s3.head_object(Bucket=BUCKET, Key="cond-get")
    fails("304", 304, get, key="cond-get", IfNoneMatch=answer["ETag"])
    fails("304", 304, get, key="cond-get", IfModifiedSince=head["LastModified"])
    fails("PreconditionFailed", 412, get, key="cond-get", IfMatch='"00"')
    fails("412", 412, s3.head_object, Bucket=BUCKET, Key="cond-get", IfMatch='"00"')
    assert get("cond-get", IfMatch=answer["ETag"]) == b"1"


@check("copy_object: metadata kept or replaced, conditions on the source")
def copy():
    tag = put("copy-source", b"copied", Metadata={"a": "1"}, ContentType="text/x-a")["ETag"]
    source = {"Bucket": BUCKET, "Key": "copy-source"}
    assert s3.copy_object(Bucket=BUCKET, Key="copy ü+", CopySource=source)["CopyObjectResult"]["ETag"] == tag
    head = s3.head_object(Bucket=BUCKET, Key="copy ü+")
    assert (head["Metadata"], head["ContentType"]) == ({"a": "1"}, "text/x-a"), head
    replace = {"MetadataDirective": "REPLACE", "Metadata": {"b": "2"}}
    s3.copy_object(Bucket=BUCKET, Key="copy-source", CopySource=source, **replace)
    assert s3.head_object(Bucket=BUCKET, Key="copy-source")["Metadata"] == {"b": "2"}
    wrong = {"CopySourceIfMatch": '"00"', "Key": "copy-none"}
    fails("PreconditionFailed", 412, s3.copy_object, Bucket=BUCKET, CopySource=source, **wrong)
    fails("InvalidRequest", 400, s3.copy_object, Bucket=BUCKET, Key="copy-source", CopySource=source)


ODD_KEYS = [
    "/first", "a//b", "a/../b", "./c", "trailing/", "sp ace", "pl+us", "per%cent", "per%41", "q?uery", "h#ash", "am&p=er",
    "quo'te\"s", "<xml>", "back\\slash", "new\nline", "tab\tbed", "ünïcødé", "日本語", "emoji🦀", "e\u0301", "\u00e9", "\x01",
    "semi;colon", "co:lon", "at@", "star*", "pi|pe", "til~de", "k" * 1024,
]


@check("odd keys: written, read, listed in byte order, deleted")
def odd_keys():
    prefix = "odd"
    keys = [prefix + key if len(key) < 1000 else key for key in ODD_KEYS]
    for key in keys:
        put(key, key.encode())
    wrong = [key for key in keys if get(key) != key.encode()]
    assert not wrong, wrong
    listed = [item["Key"] for page in pages(Prefix=prefix) for item in page.get("Contents", [])]
    expected = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    assert listed == expected, set(listed) ^ set(expected) or "wrong order"
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
    assert "Errors" not in answer, answer
    assert all("Contents" not in page for page in pages(Prefix=prefix))


def pages(**arguments):
    return s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **arguments)


@check("listing: pages, prefixes, delimiter, start-after, versions 1 and 2")
def listing():
    keys = [f"list/{folder}/{number:02}" for folder in "abc" for number in range(20)] + ["list/z"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(put, keys))
    found = [item["Key"] for page in pages(Prefix="list/", PaginationConfig={"PageSize": 7}) for item in page["Contents"]]
    assert found == keys
    folded = [page for page in pages(Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 2})]
    assert [fold["Prefix"] for page in folded for fold in page.get("CommonPrefixes", [])] == ["list/a/", "list/b/", "list/c/"]
    assert [item["Key"] for page in folded for item in page.get("Contents", [])] == ["list/z"]
    after = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter="list/c/18")
    assert [item["Key"] for item in after["Contents"]] == ["list/c/19", "list/z"] and after["KeyCount"] == 2
    first = s3.get_paginator("list_objects").paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 7})
    assert [item["Key"] for page in first for item in page["Contents"]] == keys
    none = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=0)
    assert none["KeyCount"] == 0 and not none["IsTruncated"], none


@check("tags are refused, not ignored")
def tags():
    fails("NotImplemented", 501, put, key="tagged", Tagging="a=1&b=two")
    fails("NoSuchKey", 404, get, key="tagged")
    put("tagged")
    chosen = {"TagSet": [{"Key": "c", "Value": ""}]}
    fails("NotImplemented", 501, s3.put_object_tagging, Bucket=BUCKET, Key="tagged", Tagging=chosen)
    fails("NotImplemented", 501, s3.put_bucket_tagging, Bucket=BUCKET, Tagging=chosen)
    assert s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"] == []


@check("versioning is refused, not ignored")
def versioning():
    for status in ("Enabled", "Suspended"):
        wanted = {"Bucket": BUCKET, "VersioningConfiguration": {"Status": status}}
        fails("NotImplemented", 501, s3.put_bucket_versioning, **wanted)
    assert "Status" not in s3.get_bucket_versioning(Bucket=BUCKET)
    assert "VersionId" not in put("plain")
    fails("NotImplemented", 501, s3.list_object_versions, Bucket=BUCKET)
    fails("InvalidArgument", 400, s3.delete_object, Bucket=BUCKET, Key="plain", VersionId="some-version")
    assert get("plain") == b"x"


@check("error codes")
def errors():
    fails("NoSuchKey", 404, get, key="none")
    fails("NoSuchBucket", 404, s3.get_object, Bucket=BUCKET + "-none", Key="x")
    fails("NoSuchBucket", 404, s3.put_object, Bucket=BUCKET + "-none", Key="x", Body=b"")
    fails("BucketNotEmpty", 409, s3.delete_bucket, Bucket=BUCKET)
    fails("InvalidBucketName", 400, s3.create_bucket, Bucket="ab")
    # A refusal before the body was read must not spoil the connection for the next request.
    for size in (1, 100_000, 4 * MIB):
        fails("NoSuchBucket", 404, s3.put_object, Bucket=BUCKET + "-none", Key="x", Body=b"x" * size)
        s3.head_bucket(Bucket=BUCKET)
    fails("KeyTooLongError", 400, put, key="k" * 1025)
    fails("NoSuchUpload", 404, s3.list_parts, Bucket=BUCKET, Key="x", UploadId="none")
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    wrong_key = boto3.client("s3", config=ONCE, aws_access_key_id="AKIDOFNOBODY", aws_secret_access_key=secret)
    fails("InvalidAccessKeyId", 403, wrong_key.list_buckets)
    wrong_secret = boto3.client(
        "s3", config=ONCE, aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong"
    )
    answer = fails("SignatureDoesNotMatch", 403, wrong_secret.list_buckets)
    assert answer["ResponseMetadata"].get("RequestId"), "an error without request id"


@check("another region is refused with the right one named, and boto3 finds the way")
def region():
    request = AWSRequest("GET", f"{s3.meta.endpoint_url}/{BUCKET}")
    S3SigV4Auth(boto3.Session().get_credentials(), "s3", "mars-north-1").add_auth(request)
    status, text = fetch(request.url, headers=dict(request.headers))
    assert status == 400 and b"<Code>AuthorizationHeaderMalformed</Code>" in text, (status, text)
    assert f"<Region>{os.environ['AWS_REGION']}</Region>".encode() in text, text
    other = boto3.client("s3", config=ONCE, region_name="mars-north-1")
    assert other.list_objects_v2(Bucket=BUCKET, MaxKeys=1)["KeyCount"] == 1


@check("the same with SDK retries on")
def patient():
    client = boto3.client("s3", config=PATIENT)
    tag = client.put_object(Bucket=BUCKET, Key="patient", Body=b"1", IfNoneMatch="*")["ETag"]
    client.put_object(Bucket=BUCKET, Key="patient", Body=b"2", IfMatch=tag)
    fails("PreconditionFailed", 412, client.put_object, Bucket=BUCKET, Key="patient", Body=b"3", IfMatch=tag)
    assert client.get_object(Bucket=BUCKET, Key="patient")["Body"].read() == b"2"


@check("sixteen clients at once")
def crowd():
    bodies = {f"crowd/{number}": os.urandom(number * 1000) for number in range(100)}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: put(key, bodies[key]), bodies))
        assert list(pool.map(get, bodies)) == list(bodies.values())


@check("delete everything, 1000 keys at a time, and the bucket")
def clean_up():
    for page in pages():
        keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
        if keys:
            answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})
            assert len(answer["Deleted"]) == len(keys)
    s3.delete_bucket(Bucket=BUCKET)
    fails("404", 404, s3.head_bucket, Bucket=BUCKET)


def main():
    for name, function in CHECKS:
        try:
            function()
            print(f"PASS boto3: {name}", flush=True)
        except Exception as error:  # Whatever happens, the other checks go on.
            place = traceback.extract_tb(error.__traceback__)[-1]
            print(f"FAIL boto3: {name}\n    line {place.lineno}: {type(error).__name__}: {str(error)[:300]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
