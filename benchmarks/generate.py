"""Metadata of any size in the LAION layout, with the dirt of the real thing, the same every time."""

from __future__ import annotations

from pathlib import Path

import duckdb

WORDS = (
    "北京 上海 春天 风景 照片 美丽 高清 壁纸 女装 新款 手机 汽车 电影 海报 明星 写真 山水 国画 书法 作品 展览 设计 家居 客厅 沙发 "
    "儿童 玩具 小猫 小狗 花园 玫瑰 大海 沙滩 日落 雪山 森林 美食 火锅 蛋糕 咖啡 城市 夜景 建筑 桥梁 古镇 寺庙 长城 旅游 攻略 地图 "
    "校园 学生 老师 教室 医院 医生 足球 篮球 比赛 冠军 音乐 钢琴 吉他 演唱会 舞蹈 婚礼 礼服 项链 戒指 手表 眼镜 帽子 鞋子 背包 电脑 "
    "键盘 相机 镜头 图片 素材 模板 矢量 背景 图标 插画 漫画 动漫 人物 卡通 可爱 中国风 复古 简约 现代 红色 蓝色 绿色 白色 黑色 的 和 在 与"
)
DIRTY = "限时抢购全场包邮 DSC_0123.jpg 图片加载失败 点击查看大图 加微信领取优惠 联系电话13812345678 版权所有翻版必究 IMG_20210304_101112"
PINYIN = "beijing shanghai meili de fengjing zhaopian gaoqing"

ROWS = """
    with ids as (
        -- 4% of the rows repeat an earlier row; the hash makes every value, so that any size is the same again
        select i, case when hash(i, 'again') % 25 = 0 then (hash(i, 'which') % (i + 1))::bigint else i end as j
        from range($first, $end) t(i)
    ),
    texts as (
        select i, j,
            case
                when hash(j, 'kind') % 100 < 6 then list_extract($dirty, 1 + (hash(j, 'd') % len($dirty))::int) || list_extract($words, 1 + (hash(j, 'w') % len($words))::int)
                when hash(j, 'kind') % 100 < 11 then array_to_string(list_transform(range(0, 3 + (hash(j, 'n') % 6)::int), lambda k: list_extract($pinyin, 1 + (hash(j, k) % len($pinyin))::int)), ' ')
                when hash(j, 'kind') % 100 < 14 then list_extract($words, 1 + (hash(j, 'w') % len($words))::int)
                when hash(j, 'kind') % 100 < 17 then array_to_string(list_transform(range(0, 26), lambda k: list_extract($words, 1 + (hash(j, k) % len($words))::int)), '')
                when hash(j, 'kind') % 100 < 19 then list_extract($words, 1 + (hash(j % 500, 'f') % len($words))::int) || '图片大全' || (j % 500)
                else array_to_string(list_transform(range(0, 3 + (hash(j, 'n') % 10)::int), lambda k: list_extract($words, 1 + (hash(j, k) % len($words))::int)), '')
            end as text
        from ids
    )
    select
        'https://img' || (hash(j, 'h') % 20000) || '.example.com/' || (hash(j, 'p') % 1000) || '/' || j || '.jpg' as "URL",
        text as "TEXT",
        (100 + hash(j, 'x') % 1900)::double as "WIDTH",
        (100 + hash(j, 'y') % 1900)::double as "HEIGHT",
        case when hash(j, 'l') % 20 = 0 then 'en' else 'zh' end as "LANGUAGE",
        (0.26 + (hash(j, 's') % 1500) / 10000.0)::float as similarity,
        ((hash(j, 'u') % 1000) / 1000.0)::float as punsafe,
        ((hash(j, 'v') % 1000) / 1000.0)::float as pwatermark,
        'UNLIKELY' as "NSFW"
    from texts order by i
"""
ROWS_PER_FILE = 1_000_000


def generate(folder: Path, rows: int) -> list[Path]:
    """Parquet files of `rows` rows in all, at most a million in each; files that are there already are kept.

    About 4% repeat an earlier pair, 6% carry a blacklisted word, 5% are pinyin, 3% too short, 3% too long, 2% are one of 500
    frequent captions, and 5% are in another language.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(-(-rows // ROWS_PER_FILE)):
        first, end = number * ROWS_PER_FILE, min(rows, (number + 1) * ROWS_PER_FILE)
        files.append(folder / f"part-{number:05d}-{end - first}.parquet")
        if not files[-1].exists():
            _write(files[-1], first, end)
    return files


def _write(path: Path, first: int, end: int) -> None:
    with duckdb.connect() as connection:
        for name, text in (("words", WORDS), ("dirty", DIRTY), ("pinyin", PINYIN)):
            connection.execute(f"set variable {name} = {text.split()!r}")
        sql = ROWS.replace("$first", str(first)).replace("$end", str(end))
        for name in ("words", "dirty", "pinyin"):
            sql = sql.replace(f"${name}", f"getvariable('{name}')")
        temporary = path.with_suffix(".part")
        connection.execute(f"copy ({sql}) to '{temporary}' (format parquet, compression zstd, row_group_size 131072)")
        temporary.replace(path)
