"""What the blacklist finds, and what it must leave alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from filters.blacklist import Blacklist
from tests.support.paths import REPOSITORY


def categories(caption: str | None, **options: object) -> list[str]:
    table = pa.table({"caption": pa.array([caption], pa.string())})
    masks = Blacklist(**options).rejects(table)
    return [reason.removeprefix("blacklist_") for reason, mask in masks.items() if mask.to_pylist()[0]]


@pytest.mark.parametrize(
    ("category", "caption"),
    [
        ("advertising", "新款连衣裙包邮正品保证"),
        ("advertising", "厂家直销不锈钢水箱"),
        ("advertising", "廠家直銷不鏽鋼水箱"),  # traditional
        ("advertising", "需要的朋友请加ＱＱ详谈"),  # full width and case
        ("advertising", "挖掘机多少钱一台"),
        ("advertising", "红色跑车_图片_价格"),
        ("advertising", "限時搶購中的手錶"),
        ("image_file_name", "DSC_1234"),
        ("image_file_name", "dsc01234 海边"),
        ("image_file_name", "IMG_20200101_120000.JPG"),
        ("image_file_name", "ＩＭＧ＿２０２０．ｊｐｇ"),
        ("image_file_name", "海边的日落.jpeg"),
        ("image_file_name", "微信图片_20210304112233"),
        ("image_file_name", "微信圖片_20210304"),
        ("image_file_name", "QQ截图20190405"),
        ("image_file_name", "屏幕快照 2019-04-05 下午3.20"),
        ("image_file_name", "未命名-1"),
        ("image_file_name", "d41d8cd98f00b204e9800998ecf8427e"),
        ("image_file_name", "1614844800123"),
        ("boilerplate", "点击查看大图"),
        ("boilerplate", "圖片加載失敗"),
        ("boilerplate", "此图像的alt属性为空；文件名为"),
        ("boilerplate", "在这里插入图片描述"),
        ("boilerplate", "Copyright © 2020 某某公司"),
        ("boilerplate", "版权所有 翻印"),
        ("contact", "联系人王先生13812345678"),
        ("contact", "王先生１３８１２３４５６７８"),
        ("contact", "电话：010-12345678"),
        ("contact", "QQ:123456789"),
        ("contact", "扣扣：12345678"),
        ("contact", "微信号abc_123"),
        ("contact", "投稿请寄 someone@example.com"),
        ("contact", "更多请看 www.example.com"),
        ("contact", "全国统一热线400-123-4567"),
        ("adult", "成人电影在线"),
        ("adult", "情趣內衣"),
    ],
)
def test_found(category: str, caption: str) -> None:
    assert category in categories(caption), caption
    assert category in [name for name, _ in Blacklist().matches(caption)]


INNOCENT = (
    """
特色情侣装外景|热情色彩的墙壁|女性爱美之心|妈妈教孩子做爱心卡片|路口交通信号灯|交通支援交通线路图|成熟女性职业装
诗人妻子的画像|全裸眼立体屏幕|长春药店的门面|鸟的羽毛片|大黄片药材|女性用品货架|码头夜景无码头工人|露点温度曲线
集团购买的办公楼|时代购物广场夜景|稍微商量一下的两个人|印刷单位的厂房|保险代理人在讲课|特价机票柜台|书包邮寄到山区
面包邮票|飞机垂直降落|参加群众大会|工作人员清仓库|志愿活动价值观展示|公益性服务中心大楼|黄鹤楼凤凰雕塑|赵薇：红毯照
微信支付收款码|电话亭旁的猫|红色的老式电话|手机 2019款|京东方总部大楼-京东方|一颗刚发现的未命名小行星|下一页按钮
2021年10月1日天安门广场|iPhone 12 手机壳|波音747客机|1080P高清投影仪|北京1998年冬|第19届亚运会开幕式|12306火车票
小学生的图片展|幻灯片放映机和幕布|二维码门禁|优惠券图标|垂直下降的电梯|混乱伦敦街头|一百里番茄园|家里装修的效果图
🐼 大熊猫吃竹子|雪山、蓝天、白云|老人与海：插画|3D打印模型|5G基站铁塔|C罗进球瞬间|T恤衫正面|A4纸|KTV包房|18岁生日蛋糕
18禁：儿童不宜、未成年人不宜、禁止|微信扫一扫：扫码、二维码、扫描|文件-gif|邮件包、邮件、信件|笑脸：嘿嘿、开心、笑
嘿嘿：脸、笑脸、高兴|购物车：超市、手推车|手机：移动电话、电话|电话听筒：打电话、通话|女警察：执法、警官|金钱嘴：脸、钱
扬声器静音：无声|价格标签：打折、购物|邮箱：信箱、信件、邮件|链接：网址、回形针|上传文件夹：云端、文件|在线客服图标：耳机、服务
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


@pytest.mark.parametrize("caption", INNOCENT)
def test_innocent(caption: str) -> None:
    assert Blacklist().matches(caption) == []
    assert categories(caption) == []


def test_null_and_empty_contain_nothing() -> None:
    assert categories(None) == [] and categories("") == []
    table = pa.table({"caption": pa.array([], pa.string())})
    assert all(len(mask) == 0 for mask in Blacklist().rejects(table).values())


def test_a_category_can_be_left_out() -> None:
    assert categories("厂家直销 点击查看大图", categories=("boilerplate",)) == ["boilerplate"]
    assert categories("厂家直销", categories=()) == []


def test_own_words_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("# 注释\n\n水族馆\nre:第\\d+届\nre:ＡＢ：[A-C]\n", "utf-8")
    assert categories("海洋水族館一角", lists=(str(path),)) == ["user"]
    assert categories("第１９届大会", lists=(str(path),)) == ["user"]
    assert categories("ab:b", lists=(str(path),)) == ["user"]
    assert categories("一个Ｌｏｇｏ", words=("logo",)) == ["user"]
    assert categories("注释一二三", lists=(str(path),), words=("logo",)) == []
    assert Blacklist(words=("LOGO",)).matches("logo墙") == [("user", "LOGO")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": ("re:(",)}, r"broken regular expression in words, entry 1: re:\("),
        ({"words": ("好", "re:a*")}, "matches every caption.*entry 2"),
        ({"lists": ("nowhere/list.txt",)}, "word list nowhere/list.txt cannot be read"),
        ({"categories": ("adverts",)}, "advertising"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Blacklist(**options)


def test_allowed_words_hide_what_is_inside_them() -> None:
    assert categories("官方旗舰店揭牌", allow=("官方旗舰店揭牌",)) == []
    assert categories("官方旗艦店揭牌，厂家直销", allow=("官方旗舰店",)) == ["advertising"]


def test_jieba_confirms_words_but_not_patterns() -> None:
    assert categories("集团购买了大楼", words=("团购",)) == ["user"]
    assert categories("集团购买了大楼", words=("团购",), confirm_with_jieba=True) == []
    assert categories("我们去团购吧", words=("团购",), confirm_with_jieba=True) == ["user"]
    assert categories("集团购买，不如团购", words=("团购",), confirm_with_jieba=True) == ["user"]
    assert categories("集团购买了大楼", words=("re:团购",), confirm_with_jieba=True) == ["user"]


def test_every_entry_finds_itself() -> None:
    """A list whose words were spelt outside the normal form would never match."""
    folder = REPOSITORY / "filters" / "words"
    for path in sorted(folder.glob("*.txt")):
        entries = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        words = [entry for entry in entries if not entry.startswith("re:")]
        table = pa.table({"caption": pa.array(words, pa.string())})
        mask = Blacklist(categories=(path.stem,)).rejects(table)[f"blacklist_{path.stem}"]
        assert [word for word, rejected in zip(words, mask.to_pylist(), strict=True) if not rejected] == []
        assert len(entries) == len(set(entries)) >= 60
